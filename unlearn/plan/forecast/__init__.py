"""What forgetting will cost before anybody asks for it, and what would make it cheaper."""
