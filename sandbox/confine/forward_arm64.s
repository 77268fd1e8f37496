#include "textflag.h"

// The kernel calls this with the signal's number in R0 and its own way back in the link register.
TEXT onSignal(SB), NOSPLIT, $16-0
	MOVD R0, 8(RSP)
	CALL ·relay(SB)
	RET

// func handlers() (onSignal, restore uintptr)
TEXT ·handlers(SB), NOSPLIT, $0-16
	MOVD $onSignal(SB), R0
	MOVD R0, onSignal+0(FP)
	MOVD ZR, restore+8(FP)
	RET
