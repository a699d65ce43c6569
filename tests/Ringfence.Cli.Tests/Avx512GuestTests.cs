using System.Globalization;
using System.Runtime.Intrinsics.X86;
using System.Text;
using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;
using Label = Iced.Intel.Label;

namespace Ringfence.Cli.Tests;

/// <summary>`--cpu host`: Linux finds AVX-512, keeps its registers, and programs use them.</summary>
[Collection(nameof(LinuxGuestTests))]
[Trait("Category", "Guest")]
public sealed class Avx512GuestTests
{
    private const ulong Origin = 0x40_0000;
    private const int HeaderBytes = 0x78;
    private const int Rounds = 2_000_000;

    [Fact]
    public void ProgramsComputeWithIt()
    {
        Assert.SkipUnless(Avx512BW.IsSupported, "needs a host with AVX-512");
        Assert.SkipWhen(Environment.GetEnvironmentVariable("RINGFENCE_ENGINE") == "interpreter", "for the translator");
        using var guest = new LinuxShell("RINGFENCE_KERNEL", "--cpu", "host", "--engine", "translator", "--cpus", "2");
        guest.WaitForPrompt();
        string flags = guest.Run("grep -m1 ^flags /proc/cpuinfo");
        foreach (string flag in new[] { "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd" })
        {
            Assert.Contains($" {flag}", flags, StringComparison.Ordinal);
        }
        Upload(guest, "/tmp/sum", Program());
        // Each with a start of its own, several at a time on two processors: their registers change hands.
        string[] results = guest.Run("for i in 1 2 3 4 5 6; do /tmp/sum $i & done | sort; wait").Split('\n');
        Assert.Equal(Enumerable.Range(1, 6).Select(i => Expected((ulong)i)).Order(StringComparer.Ordinal), results);
        Assert.Equal(0, guest.PowerOff());
    }

    /// <summary>What <see cref="Program"/> prints: argv[1]'s digit is in each of eight lanes, lane i counting from i. A lane whose mask bit is set adds, the
    /// others rotate.</summary>
    private static string Expected(ulong digit)
    {
        ulong[] lanes = [.. Enumerable.Range(0, 8).Select(i => digit * 0x9E37_79B9_7F4A_7C15 + (ulong)i)];
        ulong factor = 0x9E37_79B9_7F4A_7C15;
        for (int round = 0; round < Rounds; round++)
        {
            for (int i = 0; i < 8; i++)
            {
                lanes[i] = (lanes[i] & 1) != 0 ? lanes[i] + factor : ulong.RotateRight(lanes[i], 7);
            }
        }
        ulong sum = lanes.Aggregate(0UL, (a, b) => a + b);
        return sum.ToString("x16", CultureInfo.InvariantCulture);
    }

    /// <summary>A program for Linux that ends by printing 16 digits.</summary>
    private static byte[] Program()
    {
        var a = new Assembler(64);
        Label loop = a.CreateLabel();
        Label digits = a.CreateLabel();
        Label number = a.CreateLabel();
        // argv[1][0] - '0'
        a.mov(rax, __qword_ptr[rsp + 16]);
        a.movzx(eax, __byte_ptr[rax]);
        a.sub(eax, '0');
        a.mov(r12, 0x9E37_79B9_7F4A_7C15);
        a.imul(rax, r12);
        a.vpbroadcastq(zmm20, rax);
        a.vpbroadcastq(zmm30, r12);
        // 0 to 7, from bytes.
        a.mov(rax, 0x0706_0504_0302_0100);
        a.vmovq(xmm1, rax);
        a.vpmovzxbq(zmm1, xmm1);
        a.vpaddq(zmm20, zmm20, zmm1);
        a.mov(eax, 1);
        a.vpbroadcastq(zmm31, rax);
        a.mov(ecx, Rounds);
        a.Label(ref loop);
        a.vptestmq(k3, zmm20, zmm31);
        a.knotb(k5, k3);
        a.vpaddq(zmm20.k3, zmm20, zmm30);
        a.vprorq(zmm20.k5, zmm20, 7);
        a.dec(ecx);
        a.jne(loop);
        a.sub(rsp, 256);
        a.vmovdqu64(__zmmword_ptr[rsp + 1], zmm20);
        a.xor(ebx, ebx);
        a.mov(ecx, 8);
        a.Label(ref number);
        a.add(rbx, __qword_ptr[rsp + (rcx * 8) - 7]);
        a.dec(ecx);
        a.jne(number);
        a.mov(ecx, 16);
        a.Label(ref digits);
        a.rol(rbx, 4);
        a.mov(eax, ebx);
        a.and(eax, 15);
        a.cmp(eax, 10);
        a.sbb(edx, edx);
        a.lea(eax, __[rax + 'a' - 10]);
        a.and(edx, 'a' - 10 - '0');
        a.sub(eax, edx);
        a.mov(rdx, rsp);
        a.sub(rdx, rcx);
        a.mov(__byte_ptr[rdx + 144], al);
        a.dec(ecx);
        a.jne(digits);
        a.mov(__byte_ptr[rsp + 144], 10);
        // write(1, rsp + 128, 17); exit(0)
        a.lea(rsi, __[rsp + 128]);
        a.mov(edx, 17);
        a.mov(edi, 1);
        a.mov(eax, 1);
        a.syscall();
        a.mov(eax, 60);
        a.xor(edi, edi);
        a.syscall();
        var code = new MemoryStream();
        a.Assemble(new StreamCodeWriter(code), Origin + HeaderBytes);
        return [.. Header(HeaderBytes + (int)code.Length), .. code.ToArray()];
    }

    /// <summary>An ELF header and one program header: all of the file, to be read and run.</summary>
    private static byte[] Header(int size)
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        writer.Write([0x7F, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0]);
        writer.Write(0UL);
        // ET_EXEC, EM_X86_64, version 1, entry, program headers at 64, no sections, no flags, sizes and counts.
        writer.Write((ushort)2);
        writer.Write((ushort)62);
        writer.Write(1);
        writer.Write(Origin + HeaderBytes);
        writer.Write(64UL);
        writer.Write(0UL);
        writer.Write(0);
        foreach (ushort value in new ushort[] { 64, 56, 1, 0, 0, 0 })
        {
            writer.Write(value);
        }
        // PT_LOAD, R and X, offset 0.
        writer.Write(1);
        writer.Write(5);
        foreach (ulong value in new[] { 0UL, Origin, Origin, (ulong)size, (ulong)size, 0x1000UL })
        {
            writer.Write(value);
        }
        return bytes.ToArray();
    }

    /// <summary>By way of the shell, in lines that a terminal takes.</summary>
    private static void Upload(LinuxShell guest, string path, byte[] content)
    {
        const int LineBytes = 64;
        for (int at = 0; at < content.Length; at += LineBytes)
        {
            StringBuilder line = new();
            foreach (byte value in content.AsSpan(at, Math.Min(LineBytes, content.Length - at)))
            {
                line.Append('\\').Append(Convert.ToString(value, 8).PadLeft(3, '0'));
            }
            guest.Run($"printf '{line}' >> {path}");
        }
        guest.Run($"chmod +x {path}");
    }
}
