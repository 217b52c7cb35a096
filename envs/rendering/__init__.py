"""What people see of an environment: frames, and a window that shows them."""
