"""The networks that are trained or distilled from: adapter, image towers, teacher."""
