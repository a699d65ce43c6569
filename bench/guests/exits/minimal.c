/* The least that can run guests/exits/guest.asm under KVM: one vCPU, flat 32-bit code, and nothing done about an exit but to print what goes to COM1.
 * What an exit costs here is what the kernel asks for it. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LOAD = 0x100000, ENTRY = LOAD + 32, MEMORY = 4 << 20 };

static void check(long result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    check(kvm, "/dev/kvm");
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    check(vm, "KVM_CREATE_VM");
    check(ioctl(vm, KVM_SET_TSS_ADDR, 0xFEFFD000), "KVM_SET_TSS_ADDR");
    unsigned char *memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int file = open(argv[1], O_RDONLY);
    check(file, argv[1]);
    check(read(file, memory + LOAD, MEMORY - LOAD), argv[1]);
    struct kvm_userspace_memory_region region = { .memory_size = MEMORY, .userspace_addr = (unsigned long)memory };
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    check(vcpu, "KVM_CREATE_VCPU");
    int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    struct kvm_run *run = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    struct kvm_sregs system;
    check(ioctl(vcpu, KVM_GET_SREGS, &system), "KVM_GET_SREGS");
    struct kvm_segment code = { .limit = ~0u, .selector = 8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1 }, data = code;
    data.selector = 16;
    data.type = 3;
    system.cs = code;
    system.ds = system.es = system.ss = system.fs = system.gs = data;
    system.cr0 |= 1;
    check(ioctl(vcpu, KVM_SET_SREGS, &system), "KVM_SET_SREGS");
    struct kvm_regs registers = { .rip = ENTRY, .rflags = 2 };
    check(ioctl(vcpu, KVM_SET_REGS, &registers), "KVM_SET_REGS");
    for (;;) {
        check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        switch (run->exit_reason) {
        case KVM_EXIT_IO:
            if (run->io.port == 0x3F8) check(write(1, (char *)run + run->io.data_offset, 1), "standard output");
            break;
        case KVM_EXIT_MMIO:
            memset(run->mmio.data, 0xFF, sizeof run->mmio.data);
            break;
        case KVM_EXIT_HLT:
            return 0;
        default:
            fprintf(stderr, "exit %u\n", run->exit_reason);
            return 1;
        }
    }
}
