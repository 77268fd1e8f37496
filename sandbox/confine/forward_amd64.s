#include "textflag.h"

// The kernel calls this with the signal's number in DI and restore as the return address.
TEXT onSignal(SB), NOSPLIT, $8-0
	MOVQ DI, 0(SP)
	CALL ·relay(SB)
	RET

// rt_sigreturn(2)
TEXT restore(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $15, AX
	SYSCALL
	INT  $3

// func handlers() (onSignal, restore uintptr)
TEXT ·handlers(SB), NOSPLIT, $0-16
	LEAQ onSignal(SB), AX
	MOVQ AX, onSignal+0(FP)
	LEAQ restore(SB), AX
	MOVQ AX, restore+8(FP)
	RET
