"""Chat: templates rendered in a process of their own, because a template is a stranger's code."""
