"""What trials will cost before they run: disk by arithmetic over their recipes, time from what was measured on this machine.

disk           bytes of students, optimizer state, rows and shards; what is free
calibration    a few real steps of a recipe, timed once and kept in the store
duration       seconds of a trial, from finished ones of the same run or from a calibration; unknown otherwise
"""
