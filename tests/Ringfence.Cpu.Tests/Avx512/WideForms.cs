using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Models;
using Register = Iced.Intel.Register;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>Every form of the instructions that are passed on: each opcode with register and with memory operands, without a mask, merging, zeroing, with
/// memory broadcast, with each rounding.</summary>
internal static class WideForms
{
    private const int Immediates = 6;

    /// <summary>Those of 64-bit code that the decoder knows and some processor may have.</summary>
    public static IReadOnlyList<Code> Codes { get; } = [.. Enum.GetValues<Code>().Where(c => InstructionSet.IsPassedOn(c) && c.ToOpCode().Mode64 && OfKnownFeatures(c))];

    /// <summary>Those that this host has.</summary>
    public static IEnumerable<Code> OfHost
    {
        get
        {
            var set = new InstructionSet(CpuModel.Host);
            return Codes.Where(c => set[c] == Support.Present);
        }
    }

    public static IEnumerable<Instruction> Of(Code code, Random random)
    {
        OpCodeInfo info = code.ToOpCode();
        foreach (bool memory in new[] { false, true })
        {
            if (!(memory ? HasMemory(info) : !HasOnlyMemory(info)))
            {
                continue;
            }
            bool immediate = Kinds(info).Contains("imm8");
            for (int i = 0; i < (immediate ? Immediates : 1); i++)
            {
                foreach (Instruction form in Variants(code, info, memory, random))
                {
                    yield return form;
                }
            }
        }
    }

    public static byte[] Encode(in Instruction instruction)
    {
        var bytes = new MemoryStream();
        Iced.Intel.Encoder.Create(64, new StreamCodeWriter(bytes)).Encode(instruction, 0);
        return bytes.ToArray();
    }

    private static bool OfKnownFeatures(Code code) =>
        code.CpuidFeatures().All(f => CpuFeatures.All.Any(i => i.Instructions == f && (i.Implemented || i.PassedOn)));

    private static IEnumerable<Instruction> Variants(Code code, OpCodeInfo info, bool memory, Random random)
    {
        bool masks = info.CanUseOpMaskRegister;
        bool stores = memory && Kinds(info).First().Contains("mem", StringComparison.Ordinal);
        if (!info.RequireOpMaskRegister)
        {
            yield return Make(code, info, memory, random);
        }
        if (masks)
        {
            yield return Make(code, info, memory, random) with { OpMask = Mask() };
        }
        if (masks && info.CanUseZeroingMasking && !stores)
        {
            yield return Make(code, info, memory, random) with { OpMask = Mask(), ZeroingMasking = true };
        }
        if (memory && info.CanBroadcast)
        {
            yield return Make(code, info, memory, random) with { IsBroadcast = true };
            yield return Make(code, info, memory, random) with { IsBroadcast = true, OpMask = masks ? Mask() : Register.None };
        }
        if (!memory && info.CanUseRoundingControl)
        {
            for (RoundingControl rounding = RoundingControl.RoundToNearest; rounding <= RoundingControl.RoundTowardZero; rounding++)
            {
                yield return Make(code, info, memory, random) with { RoundingControl = rounding, OpMask = masks && random.Next(2) == 0 ? Mask() : Register.None };
            }
        }
        if (!memory && info.CanSuppressAllExceptions && !info.CanUseRoundingControl)
        {
            yield return Make(code, info, memory, random) with { SuppressAllExceptions = true, OpMask = masks && random.Next(2) == 0 ? Mask() : Register.None };
        }

        Register Mask() => Register.K1 + random.Next(7);
    }

    private static Instruction Make(Code code, OpCodeInfo info, bool memory, Random random)
    {
        var instruction = new Instruction { Code = code };
        List<int> used = [];
        for (int i = 0; i < info.OpCount; i++)
        {
            string kind = info.GetOpKind(i).ToString();
            if (IsMemory(kind) || (kind.EndsWith("_or_mem", StringComparison.Ordinal) && memory))
            {
                instruction.SetOpKind(i, OpKind.Memory);
                instruction.MemoryBase = Vector.Forms.Memory;
                instruction.MemoryDisplSize = 1;
                // Some fit the byte that counts in units of the operand, some do not.
                instruction.MemoryDisplacement64 = random.Next(3) == 0 ? (ulong)random.Next(-1000, 1000) : (ulong)(64 * random.Next(-8, 8));
                if (kind.Contains("vsib", StringComparison.Ordinal))
                {
                    int index = Free(used, random);
                    instruction.MemoryIndex = (kind[^1] switch { 'x' => Register.XMM0, 'y' => Register.YMM0, _ => Register.ZMM0 }) + index;
                    instruction.MemoryIndexScale = 1 << random.Next(4);
                }
            }
            else if (kind == "imm8")
            {
                instruction.SetOpKind(i, OpKind.Immediate8);
                instruction.Immediate8 = (byte)random.Next(256);
            }
            else
            {
                bool gathers = Kinds(info).Any(k => k.Contains("vsib", StringComparison.Ordinal));
                Register register = kind[0] switch
                {
                    'x' => Register.XMM0 + (gathers ? Free(used, random) : random.Next(32)),
                    'y' => Register.YMM0 + (gathers ? Free(used, random) : random.Next(32)),
                    'z' => Register.ZMM0 + (gathers ? Free(used, random) : random.Next(32)),
                    'k' => Register.K0 + random.Next(8),
                    _ => (kind.StartsWith("r64", StringComparison.Ordinal) ? Register.RAX : Register.EAX) + General(random),
                };
                instruction.SetOpKind(i, OpKind.Register);
                instruction.SetOpRegister(i, register);
            }
        }
        return instruction;
    }

    /// <summary>Never RSP, RSI, RDI, R15: those have a role in the harness.</summary>
    private static int General(Random random) => random.Next(2) == 0 ? random.Next(4) : 8 + random.Next(7);

    /// <summary>A gather's registers are all different.</summary>
    private static int Free(List<int> used, Random random)
    {
        int number = random.Next(32);
        while (used.Contains(number))
        {
            number = random.Next(32);
        }
        used.Add(number);
        return number;
    }

    private static IEnumerable<string> Kinds(OpCodeInfo info) => Enumerable.Range(0, info.OpCount).Select(i => info.GetOpKind(i).ToString());

    private static bool IsMemory(string kind) => kind.StartsWith("mem", StringComparison.Ordinal);

    private static bool HasMemory(OpCodeInfo info) => Kinds(info).Any(k => k.Contains("mem", StringComparison.Ordinal));

    private static bool HasOnlyMemory(OpCodeInfo info) => Kinds(info).Any(IsMemory);
}
