"""What Strongroom does, one module an operation; none of them dispatches (see ``steps``)."""
