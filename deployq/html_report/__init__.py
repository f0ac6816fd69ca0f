"""A verification as one page of HTML: no scripts, nothing fetched, plots as inline SVG."""
