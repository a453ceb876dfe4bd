"""The reader study: experts tell real from synthetic images on a web page. `design`, `serve`, `analyse`."""
