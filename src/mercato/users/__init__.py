"""The users service: stores, their users, and who is signed in."""
