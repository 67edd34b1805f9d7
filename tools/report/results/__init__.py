"""What results say: tables of the paper, ablations, claims and intervals."""
