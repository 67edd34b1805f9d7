"""Where sample keys come from: webdataset shards and key lists."""
