"""Who takes emails to other machines. What stays here is in `stores/mailbox.py`."""
