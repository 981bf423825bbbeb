"""What each gateway is: pure data and functions, one file each."""
