; Exits of each kind, a fixed number of them, between bytes on COM1 that the host stamps: 32-bit code without paging, at 1 MiB.
; A multiboot image whose header says where it goes, which bench/guests/exits/minimal.c puts there by itself.
bits 32
org 0x100000
MAGIC equ 0x1BADB002
FLAGS equ 0x10000
COUNT equ 200000

header: dd MAGIC, FLAGS, -(MAGIC + FLAGS), header, header, image_end, image_end, start

start:  mov     dx, 0x3F8
        mov     al, 'A'
        out     dx, al
        mov     ecx, COUNT
ports:  out     0x80, al
        dec     ecx
        jnz     ports
        mov     al, 'B'
        out     dx, al
        mov     ecx, COUNT
memory: mov     ebx, [0xFEA00000]       ; nothing is there
        dec     ecx
        jnz     memory
        mov     al, 'C'
        out     dx, al
        cli
        hlt
image_end:
