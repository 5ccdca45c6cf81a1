"""Several data sets judged alike: weak, strong and gap, and quality by pairs."""
