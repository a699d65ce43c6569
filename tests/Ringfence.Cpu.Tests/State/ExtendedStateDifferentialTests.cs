using Iced.Intel;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.Tests.SystemLevel;
using Ringfence.Cpu.Translator;

namespace Ringfence.Cpu.Tests.State;

/// <summary>The XSAVE family (SDM 1 13) against the host's processor: areas byte for byte, and the state that they restore.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class ExtendedStateDifferentialTests
{
    private const ulong BeforeAt = Guest.Data;
    private const ulong AreaAt = Guest.Data + 0x1000;
    private const ulong AfterAt = Guest.Data + 0x2000;
    private const int Cases = 400;
    /// <summary>Of all together.</summary>
    private const int AllCases = Cases * 2 * 17;
    private const int Share = 1;
    private const int Attempts = 4;
    private const int UsedBytes = 832;
    private const int WideBytes = 2432;
    private const byte Narrow = 7;
    /// <summary>With AVX-512.</summary>
    private const byte Wide = 0xE7;
    private const ulong Compacted = 1UL << 63;

    /// <summary>What they compare.</summary>
    public static IReadOnlyList<Code> Codes { get; } =
    [
        Code.Fxsave_m512byte, Code.Fxsave64_m512byte, Code.Fxrstor_m512byte, Code.Fxrstor64_m512byte, Code.Xsave_mem, Code.Xsave64_mem,
        Code.Xsaveopt_mem, Code.Xsaveopt64_mem, Code.Xsavec_mem, Code.Xsavec64_mem, Code.Xrstor_mem, Code.Xrstor64_mem,
    ];

    // fxsave, fxsave64, xsave, xsave64, xsaveopt, xsaveopt64, xsavec, xsavec64 [rsi]
    [Theory]
    [InlineData("0FAE06", Narrow)]
    [InlineData("480FAE06", Narrow)]
    [InlineData("0FAE26", Narrow)]
    [InlineData("480FAE26", Narrow)]
    [InlineData("0FAE36", Narrow)]
    [InlineData("480FAE36", Narrow)]
    [InlineData("0FC726", Narrow)]
    [InlineData("480FC726", Narrow)]
    [InlineData("0FAE26", Wide)]
    [InlineData("480FAE36", Wide)]
    [InlineData("480FC726", Wide)]
    public void Saves(string hex, byte components) => Compare(hex, components, (random, before, area) =>
    {
        random.NextBytes(new Span<byte>(area, components == Wide ? WideBytes : UsedBytes));
        // In a header as software leaves it: what is not asked for stays.
        ((ulong*)area)[64] &= components;
    });

    // fxrstor, fxrstor64, xrstor, xrstor64 [rsi]
    [Theory]
    [InlineData("0FAE0E", Narrow)]
    [InlineData("480FAE0E", Narrow)]
    [InlineData("0FAE2E", Narrow)]
    [InlineData("480FAE2E", Narrow)]
    [InlineData("0FAE2E", Wide)]
    [InlineData("480FAE2E", Wide)]
    public void Restores(string hex, byte components) =>
        Compare(hex, components, (random, before, area) => FillState(random, area, random.Next(2) == 0, components));

    private static void Compare(string hex, byte components, Fill fill)
    {
        Assert.SkipUnless(HostState.IsAvailable, "needs an x86-64 host with AVX and XSAVEC to compare with");
        byte[] instruction = Convert.FromHexString(hex);
        Random random = LongRun.Source(20250301);
        long began = Environment.TickCount64;
        long wanted = LongRun.Scaled(Cases, AllCases, Share);
        Assert.SkipUnless(components == Narrow || CpuModel.Host.Has(CpuFeature.Avx512F), "needs a host with AVX-512");
        CpuModel model = components == Narrow ? CpuModel.Max : CpuModel.Host;
        var failures = new List<string>();
        for (int wide = 0; wide < 2; wide++)
        {
            using var host = new HostState(instruction, wide == 1, components);
            using var guest = components == Narrow ? new Guest(GuestMode.Long, model) : new Guest(GuestMode.Long, new TranslatorFactory(EngineUnderTest.Eager), model);
            guest.State->Cr4 |= 1 << 18;
            guest.State->Xcr0 = components;
            // mov eax, components; xor edx, edx; xrstor [rdi]; mov eax, r9d; the instruction; mov eax, components; xsave64 [r8]
            byte[] code =
            [
                0xB8, components, 0, 0, 0, 0x31, 0xD2, wide == 1 ? (byte)0x48 : (byte)0x40, 0x0F, 0xAE, 0x2F, 0x44, 0x89, 0xC8,
                .. instruction, 0xB8, components, 0, 0, 0, 0x49, 0x0F, 0xAE, 0x20,
            ];
            for (int n = 0; n < wanted && failures.Count < 8; n++)
            {
                LongRun.Count(1);
                FillState(random, host.Before, false, components);
                new Span<byte>(host.Area, HostState.AreaBytes).Fill(0xCC);
                new Span<byte>(host.After, HostState.AreaBytes).Clear();
                fill(random, host.Before, host.Area);
                uint mask = (uint)random.Next(8) | ((uint)random.Next(8) << 5 & components);
                foreach ((nint from, ulong to) in new[] { ((nint)host.Before, BeforeAt), ((nint)host.Area, AreaAt), ((nint)host.After, AfterAt) })
                {
                    guest.Memory.Write(to, new ReadOnlySpan<byte>((void*)from, HostState.AreaBytes));
                }
                guest.State->Gpr[6] = AreaAt;
                guest.State->Gpr[7] = BeforeAt;
                guest.State->Gpr[8] = AfterAt;
                guest.State->Gpr[9] = mask;
                Assert.Equal(new Outcome(-1, 0, Guest.Code + (ulong)code.Length + 1), guest.Run(code));
                // Once more if they differ: if the host's system takes the processor away in between, it may restore SSE state as being in
                // use when only MXCSR is, which is permitted.
                byte[] area = new ReadOnlySpan<byte>(host.Area, HostState.AreaBytes).ToArray();
                string? difference = "";
                for (int attempt = 0; attempt < Attempts && difference != null; attempt++)
                {
                    area.CopyTo(new Span<byte>(host.Area, HostState.AreaBytes));
                    new Span<byte>(host.After, HostState.AreaBytes).Clear();
                    host.Run(mask);
                    difference = Difference(host.Area, guest, AreaAt) ?? Difference(host.After, guest, AfterAt);
                }
                if (difference != null)
                {
                    LongRun.Difference();
                    failures.Add($"mask {mask} wide {wide} before {*(ulong*)(host.Before + 512):x} {difference}");
                }
            }
        }
        LongRun.Ended("state", 2 * wanted, began);
        Assert.True(failures.Count == 0, string.Join('\n', failures));
    }

    /// <summary>Null: none. MXCSR_MASK is the model's own.</summary>
    private static string? Difference(byte* host, Guest guest, ulong at)
    {
        const int Bytes = HostState.AreaBytes;
        byte* here = guest.Memory.Pointer(at, Bytes);
        *(uint*)(here + 28) = *(uint*)(host + 28);
        int i = new ReadOnlySpan<byte>(host, Bytes).CommonPrefixLength(new ReadOnlySpan<byte>(here, Bytes));
        return i == Bytes ? null : $"at {at:x}+{i}: host {host[i]:x} here {here[i]:x}";
    }

    /// <summary>An area that XRSTOR takes: some components present, with values that they can have.</summary>
    private static void FillState(Random random, byte* area, bool compacted, byte all)
    {
        new Span<byte>(area, HostState.AreaBytes).Clear();
        if (random.Next(3) != 0)
        {
            random.NextBytes(new Span<byte>(area + 32, 128));
        }
        uint control = ((uint)random.Next(0x10000) & 0x1F3F) | 0x40;
        uint status = (uint)random.Next(0x10000) & 0x7F7F;
        status |= (status & ~control & 0x3F) != 0 ? 0x8080u : 0;
        *(ushort*)area = (ushort)control;
        *(ushort*)(area + 2) = (ushort)status;
        area[4] = (byte)random.Next(256);
        *(ushort*)(area + 6) = (ushort)random.Next(0x800);
        // Some processors keep 48 bits of a pointer and extend the sign, others all 64.
        ((long*)area)[1] = random.NextInt64() << 16 >> 16;
        ((long*)area)[2] = random.NextInt64() << 16 >> 16;
        for (int i = 0; i < 8; i++)
        {
            new Span<byte>(area + 32 + (16 * i) + 10, 6).Clear();
        }
        *(uint*)(area + 24) = random.Next(2) == 0 ? 0x1F80 : (uint)random.Next(0x10000);
        FillVectors(random, area + 160);
        FillVectors(random, area + 576);
        // A compacted area has components where another has those before them, which are as good.
        for (int at = UsedBytes; at < WideBytes && all == Wide; at += 64)
        {
            switch (random.Next(6))
            {
                case 0: random.NextBytes(new Span<byte>(area + at, 64)); break;
                case 1: area[at + random.Next(64)] = 1; break;
            }
        }
        ulong present = (uint)random.Next(256) & all;
        ulong components = compacted ? present | ((uint)random.Next(256) & all) : 0;
        *(ulong*)(area + 512) = present;
        *(ulong*)(area + 520) = compacted ? components | Compacted : 0;
    }

    private static void FillVectors(Random random, byte* registers)
    {
        switch (random.Next(3))
        {
            case 0: random.NextBytes(new Span<byte>(registers, 256)); break;
            case 1: registers[random.Next(256)] = 1; break;
        }
    }

    private delegate void Fill(Random random, byte* before, byte* area);
}
