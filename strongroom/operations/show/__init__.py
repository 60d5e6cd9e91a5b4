"""The page of an installation: what the facts and the record say. Nothing here changes anything."""
