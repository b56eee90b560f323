"""The edge: HTTP requests in, stream entries out."""
