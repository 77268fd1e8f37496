package confine

// setsModes: the older calls do not exist here.
func setsModes(uint32) (mode, flags int, known bool) { return 0, 0, false }
