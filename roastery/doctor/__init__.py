"""What `roastery doctor` looks at: what is there, what is wrong, and the way out."""
