"""Live detectron2 models: built by the installed detectron2, or in a user's hands, with their modules in our slots."""
