"""What a search hands over to be read: report.html, and the study's page on optuna-dashboard."""
