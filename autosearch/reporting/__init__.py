"""What people see of a study: the figures, the page, the export."""
