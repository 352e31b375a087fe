"""What is in a data set, what will be hard, and what is in it twice."""
