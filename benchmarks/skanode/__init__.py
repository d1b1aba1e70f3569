"""What `SKANODERegressor` finds, how exactly, how often and how fast; published figures beside."""
