"""The outer loop: improve a data-scientist agent by editing its harness."""
