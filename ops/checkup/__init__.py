"""What `python -m ops doctor` looks at: a module per thing, each yielding findings."""
