"""Starting tracked tasks from anywhere: a web request, a script, another task. Needs no Flask."""
