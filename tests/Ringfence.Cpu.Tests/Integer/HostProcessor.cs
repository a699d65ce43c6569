using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>
/// Runs code on the host processor with all sixteen registers loaded, RSP among them. Exceptions become signals, whose handler sends the
/// code to its end; signals raised anywhere else go to whom they went before.
/// </summary>
internal sealed unsafe class HostProcessor : IDisposable
{
    private const int SignalIll = 4;
    private const int SignalBus = 7;
    private const int SignalFloat = 8;
    private const int SignalSegment = 11;
    private const int ReadWrite = 3;
    private const int ReadWriteExecute = 7;
    private const int PrivateAnonymousFixedNoReplace = 0x10_0022;
    private const int ActionBytes = 152;
    private const int FlagsSigInfoOnStack = 0x0800_0004;

    // Offsets in the page at Layout.HostOnly.
    private const int Before = 0;
    private const int After = 0x100;
    private const int SavedRsp = 0x200;
    private const int FaultRip = 0x208;
    private const int FaultSignal = 0x210;
    private const int Target = 0x218;
    private const int OldHandlers = 0x220;
    private const int Entry = 0x400;
    private const int Exit = 0x600;
    private const int Handler = 0x800;

    private static readonly int[] Signals = [SignalIll, SignalBus, SignalFloat, SignalSegment];
    private readonly byte*[] _oldActions = new byte*[Signals.Length];
    private readonly byte* _page = (byte*)Layout.HostOnly;

    public HostProcessor()
    {
        Map(Layout.Code, Layout.CodeBytes, ReadWriteExecute);
        Map(Layout.HostOnly, 0x1000, ReadWriteExecute);
        Map(Layout.Data, Layout.DataBytes, ReadWrite);
        Map(Layout.Stack, Layout.StackBytes, ReadWrite);
        BuildEntry();
        BuildExit();
        InstallHandlers();
    }

    /// <summary>Where code goes to when it is done: what code in the host's copy ends with a jump to.</summary>
    public static ulong ExitAddress => Layout.HostOnly + Exit;

    public Registers* Start => (Registers*)(_page + Before);

    public Registers* Result => (Registers*)(_page + After);

    public Ending Run(ulong code)
    {
        *(ulong*)(_page + Target) = code;
        *(ulong*)(_page + FaultRip) = 0;
        *(ulong*)(_page + FaultSignal) = 0;
        ((delegate* unmanaged<void>)(_page + Entry))();
        return new Ending(*(ulong*)(_page + FaultRip), *(int*)(_page + FaultSignal) switch
        {
            0 => Trap.None,
            SignalFloat => Trap.Divide,
            SignalSegment or SignalBus => Trap.Memory,
            _ => Trap.Other,
        });
    }

    public void Dispose()
    {
        for (int i = 0; i < Signals.Length; i++)
        {
            _ = sigaction(Signals[i], _oldActions[i], null);
            NativeMemory.Free(_oldActions[i]);
        }
        _ = munmap((void*)Layout.Base, (nuint)Layout.Span);
    }

    private static void Map(ulong address, ulong length, int protection)
    {
        void* got = mmap((void*)address, (nuint)length, protection, PrivateAnonymousFixedNoReplace, -1, 0);
        Assert.True(got == (void*)address, "the addresses that the comparison needs are taken");
    }

    private static byte[] Absolute(int offset) => BitConverter.GetBytes((uint)Layout.HostOnly + (uint)offset);

    private void BuildEntry()
    {
        var code = new List<byte>();
        // push rbx, rbp, r12-r15; mov [SavedRsp], rsp; push [flags]; popf
        code.AddRange([0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x48, 0x89, 0x24, 0x25, .. Absolute(SavedRsp)]);
        code.AddRange([0xFF, 0x34, 0x25, .. Absolute(Before + 128), 0x9D]);
        for (int i = 0; i < 16; i++)
        {
            code.AddRange([(byte)(i < 8 ? 0x48 : 0x4C), 0x8B, (byte)(0x04 | ((i & 7) << 3)), 0x25, .. Absolute(Before + (8 * i))]);
        }
        // jmp [Target]
        code.AddRange([0xFF, 0x24, 0x25, .. Absolute(Target)]);
        CollectionsMarshal.AsSpan(code).CopyTo(new Span<byte>(_page + Entry, Exit - Entry));
    }

    private void BuildExit()
    {
        var code = new List<byte>();
        for (int i = 0; i < 16; i++)
        {
            code.AddRange([(byte)(i < 8 ? 0x48 : 0x4C), 0x89, (byte)(0x04 | ((i & 7) << 3)), 0x25, .. Absolute(After + (8 * i))]);
        }
        // mov rsp, [SavedRsp]; pushf; pop [flags]; cld; pop r15-r12, rbp, rbx; ret
        code.AddRange([0x48, 0x8B, 0x24, 0x25, .. Absolute(SavedRsp), 0x9C, 0x8F, 0x04, 0x25, .. Absolute(After + 128), 0xFC]);
        code.AddRange([0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3]);
        CollectionsMarshal.AsSpan(code).CopyTo(new Span<byte>(_page + Exit, Handler - Exit));
    }

    private void InstallHandlers()
    {
        // In: EDI signal, RDX context, whose RIP is at 0xA8.
        // mov rax, [rdx+A8h]; mov rcx, rax; sub rcx, Code; cmp rcx, CodeBytes; jae other
        // mov [FaultRip], rax; mov [FaultSignal], edi; mov qword [rdx+A8h], Exit; ret
        // other: jmp [edi*8+OldHandlers]
        byte[] code =
        [
            0x48, 0x8B, 0x82, 0xA8, 0, 0, 0,
            0x48, 0x89, 0xC1,
            0x48, 0x81, 0xE9, .. BitConverter.GetBytes((uint)Layout.Code),
            0x48, 0x81, 0xF9, .. BitConverter.GetBytes((uint)Layout.CodeBytes),
            0x73, 0x1B,
            0x48, 0x89, 0x04, 0x25, .. Absolute(FaultRip),
            0x89, 0x3C, 0x25, .. Absolute(FaultSignal),
            0x48, 0xC7, 0x82, 0xA8, 0, 0, 0, .. Absolute(Exit),
            0xC3,
            0x67, 0xFF, 0x24, 0xFD, .. Absolute(OldHandlers),
        ];
        code.CopyTo(new Span<byte>(_page + Handler, 0x200));
        byte* action = stackalloc byte[ActionBytes];
        for (int i = 0; i < Signals.Length; i++)
        {
            _oldActions[i] = (byte*)NativeMemory.AllocZeroed(ActionBytes);
            _ = sigaction(Signals[i], null, _oldActions[i]);
            ((ulong*)(_page + OldHandlers))[Signals[i]] = *(ulong*)_oldActions[i];
            new Span<byte>(action, ActionBytes).Clear();
            *(byte**)action = _page + Handler;
            *(int*)(action + 136) = FlagsSigInfoOnStack;
            _ = sigaction(Signals[i], action, null);
        }
    }

    [DllImport("libc")]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    private static extern int munmap(void* address, nuint length);

    [DllImport("libc")]
    private static extern int sigaction(int signal, byte* action, byte* old);
}
