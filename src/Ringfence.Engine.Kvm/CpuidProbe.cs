using System.Runtime.InteropServices;
using Ringfence.Cpu.Models;
using Ringfence.Engine.Kvm.Native;

namespace Ringfence.Engine.Kvm;

/// <summary>
/// Whether CPUID tells guests what the kernel was told to tell them. Where guest code runs without VT-x or AMD-V, the processor answers user mode itself, and
/// the kernel may add its features to what it answers elsewhere: then they are the guest's whatever the model says.
/// </summary>
internal static unsafe class CpuidProbe
{
    private const int Page = 4096;
    private const int Pages = 5;
    private const ulong Tables = Page;
    private const ulong CodeAddress = 4 * Page;

    /// <summary>The features that a guest finds which it was not given.</summary>
    public static FeatureSet Unasked(KvmSystem system)
    {
        byte* memory = (byte*)NativeMemory.AlignedAlloc(Pages * Page, Page);
        NativeMemory.Clear(memory, Pages * Page);
        try
        {
            using KvmVmDescriptor vm = system.CreateVm();
            vm.SetMemory(0, 0, Pages * Page, (nint)memory);
            using KvmVcpuDescriptor vcpu = vm.CreateVcpu(0, system.RunSize);
            KvmCpuidEntry[] told = [.. system.SupportedCpuid().Select(Silence)];
            vcpu.SetCpuid(told);
            EnterLongMode(vcpu, memory);
            // CPUID, HLT
            new ReadOnlySpan<byte>([0x0F, 0xA2, 0xF4]).CopyTo(new Span<byte>(memory + CodeAddress, 3));
            return FeatureSet.Of(told.SelectMany(entry => Unasked(vcpu, entry)));
        }
        finally
        {
            NativeMemory.AlignedFree(memory);
        }
    }

    /// <summary>Takes away the features that long mode does not need.</summary>
    private static KvmCpuidEntry Silence(KvmCpuidEntry entry) => entry.Leaf switch
    {
        1 or 0x8000_0001 => entry with { Ecx = 0 },
        7 => entry with { Ebx = 0, Ecx = 0, Edx = 0 },
        0xD when entry.Subleaf == 1 => entry with { Eax = 0 },
        0x8000_0008 => entry with { Ebx = 0 },
        _ => entry,
    };

    private static IEnumerable<CpuFeature> Unasked(KvmVcpuDescriptor vcpu, KvmCpuidEntry told)
    {
        CpuFeatureInfo[] here = [.. CpuFeatures.All.Where(info => (info.Leaf, info.Subleaf) == (told.Leaf, told.Subleaf))];
        if (here.Length == 0)
        {
            return [];
        }
        KvmRegisters answer = Run(vcpu, told.Leaf, told.Subleaf);
        KvmRegisters asked = new() { Rax = told.Eax, Rbx = told.Ebx, Rcx = told.Ecx, Rdx = told.Edx };
        return here.Where(info => (Register(answer, info.Register) & ~Register(asked, info.Register) & (1u << info.Bit)) != 0).Select(info => info.Feature);
    }

    /// <summary>64-bit code at level 0: other modes a kernel may see to in other ways. One large page, mapped where it is.</summary>
    private static void EnterLongMode(KvmVcpuDescriptor vcpu, byte* memory)
    {
        const ulong PresentAndWritable = 3;
        *(ulong*)(memory + Tables) = (Tables + Page) | PresentAndWritable;
        *(ulong*)(memory + Tables + Page) = (Tables + (2 * Page)) | PresentAndWritable;
        *(ulong*)(memory + Tables + (2 * Page)) = PresentAndWritable | (1 << 7);
        KvmSystemRegisters2 system = vcpu.SystemRegisters2;
        ref KvmSystemHead head = ref system.Head;
        (head.Cr0, head.Cr3, head.Cr4, head.Efer) = (0x8005_0033, Tables, 0x620, 0x500);
        head.Cs = new KvmSegment { Limit = uint.MaxValue, Selector = 8, Type = 11, Present = 1, System = 1, Long = 1, Granularity = 1 };
        head.Ss = new KvmSegment { Limit = uint.MaxValue, Selector = 16, Type = 3, Present = 1, System = 1, Big = 1, Granularity = 1 };
        head.Ds = head.Es = head.Fs = head.Gs = head.Ss;
        vcpu.SystemRegisters2 = system;
    }

    private static KvmRegisters Run(KvmVcpuDescriptor vcpu, uint leaf, uint subleaf)
    {
        KvmRun* run = vcpu.Page;
        run->Registers = new KvmRegisters { Rax = leaf, Rcx = subleaf, Rip = CodeAddress, Rflags = 2 };
        run->DirtyRegisters = KvmSync.Registers;
        run->ValidRegisters = KvmSync.Registers;
        int error;
        do
        {
            error = vcpu.Run();
        }
        while (error is KvmCalls.Interrupted or KvmCalls.TryAgain);
        // One that does not get so far has nothing to say.
        return error == 0 && run->ExitReason == KvmExitReason.Halt ? run->Registers : default;
    }

    private static uint Register(in KvmRegisters answer, CpuidRegister register) => (uint)(register switch
    {
        CpuidRegister.Eax => answer.Rax,
        CpuidRegister.Ebx => answer.Rbx,
        CpuidRegister.Ecx => answer.Rcx,
        _ => answer.Rdx,
    });
}
