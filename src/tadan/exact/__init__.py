"""Integer networks whose results no machine can round differently. Needs numpy only."""
