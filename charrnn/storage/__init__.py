"""What is kept on disk and how: whole files, checked tensors, facts about the machine."""
