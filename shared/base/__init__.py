"""What every part stands on: errors, settings, the home folder, the file system, lanes and logs."""
