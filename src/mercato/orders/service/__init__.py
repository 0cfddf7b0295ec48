"""What can be done with orders, and what is read of them."""
