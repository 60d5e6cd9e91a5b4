"""The page of an installation: what the facts and the record say, as HTML. Nothing here changes anything."""
