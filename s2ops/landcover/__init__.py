"""Land cover: fusion of heads and dates, areas, area tables."""
