using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>Runs one instruction on the host in 32-bit code, to which Linux lets every program go: EAX and flags in, EAX and flags out.</summary>
internal sealed unsafe class CompatibilityThunk : IDisposable
{
    private const nuint Bytes = 0x2000;
    private const int ReadWriteExecute = 7;
    private const int PrivateAnonymousLow = 0x62;
    private const ushort Code32 = 0x23;
    private const ushort Code64 = 0x33;
    private const int SavedRsp = 0x800;
    private const int FarPointer = 0x810;
    private const int Narrow = 0x100;
    private const int Back = 0x200;
    private readonly byte* _page;

    public CompatibilityThunk()
    {
        _page = (byte*)mmap(null, Bytes, ReadWriteExecute, PrivateAnonymousLow, -1, 0);
        Assert.True(_page != (byte*)-1 && (ulong)_page < 1UL << 31, "no memory below 2 GiB");
        *(uint*)(_page + FarPointer) = Address(Narrow);
        *(ushort*)(_page + FarPointer + 4) = Code32;
        byte[] entry =
        [
            0x48, 0x89, 0x24, 0x25, .. Absolute(SavedRsp),              // mov [SavedRsp], rsp
            0xBC, .. Absolute((int)Bytes),                              // mov esp, the end of the pages
            0x56, 0x9D, 0x89, 0xF8,                                     // push rsi; popfq; mov eax, edi
            0xFF, 0x2C, 0x25, .. Absolute(FarPointer),                  // jmp far [FarPointer]
        ];
        entry.CopyTo(new Span<byte>(_page, Narrow));
        byte[] back =
        [
            0x9C, 0x59, 0x89, 0xC0, 0x48, 0xC1, 0xE1, 0x20,             // pushfq; pop rcx; mov eax, eax; shl rcx, 32
            0x48, 0x09, 0xC8,                                           // or rax, rcx
            0x48, 0x8B, 0x24, 0x25, .. Absolute(SavedRsp), 0xFC, 0xC3,  // mov rsp, [SavedRsp]; cld; ret
        ];
        back.CopyTo(new Span<byte>(_page + Back, 0x100));
    }

    /// <summary>The instruction uses no memory and no register but EAX.</summary>
    public void Compile(ReadOnlySpan<byte> instruction)
    {
        byte[] code = [.. instruction, 0xEA, .. Absolute(Back), (byte)Code64, 0];
        code.CopyTo(new Span<byte>(_page + Narrow, Back - Narrow));
    }

    public (uint Eax, uint Flags) Run(uint eax, uint flags)
    {
        ulong result = ((delegate* unmanaged<uint, ulong, ulong>)_page)(eax, flags);
        return ((uint)result, (uint)(result >> 32));
    }

    public void Dispose() => _ = munmap(_page, Bytes);

    private uint Address(int offset) => (uint)(ulong)_page + (uint)offset;

    private byte[] Absolute(int offset) => BitConverter.GetBytes(Address(offset));

    [DllImport("libc")]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    private static extern int munmap(void* address, nuint length);
}
