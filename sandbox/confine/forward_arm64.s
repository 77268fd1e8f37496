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

// func bear(stack unsafe.Pointer) (pid, errno uintptr)
TEXT ·bear(SB), NOSPLIT, $16-24
	MOVD $220, R8    // clone(2)
	MOVD $0x4111, R0 // CLONE_VFORK|CLONE_VM|SIGCHLD
	MOVD stack+0(FP), R1
	MOVD ZR, R2
	MOVD ZR, R3
	MOVD ZR, R4
	SVC
	CBZ  R0, child
	MOVD ZR, errno+16(FP)
	TBZ  $63, R0, parent
	NEG  R0, R0
	MOVD R0, errno+16(FP)
	MOVD ZR, R0
parent:
	MOVD R0, pid+8(FP)
	RET
child:
	CALL ·become(SB)
	BRK
