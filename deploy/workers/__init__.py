"""Workers: one Faust app for each role."""
