package spec

// archNamed is empty: the older calls do not exist here.
var archNamed []Named
