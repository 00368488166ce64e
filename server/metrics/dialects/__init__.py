"""The same numbers under the names that other servers gave them, so that their dashboards work here."""
