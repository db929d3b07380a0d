"""The vision experiment: five binary tasks of images, four to retrain on and the fifth to adapt to."""
