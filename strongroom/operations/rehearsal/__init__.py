"""Recovery drills: restore into a scratch place, compare, tear down."""
