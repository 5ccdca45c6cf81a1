"""What an item is, how an answer is graded and when an item is accepted: a task decides that."""
