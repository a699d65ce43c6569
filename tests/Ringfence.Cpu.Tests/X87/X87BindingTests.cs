using System.Runtime.InteropServices;
using Iced.Intel;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.Differential;
using Ringfence.Cpu.X87;
using static Ringfence.Cpu.Tests.X87.HostComparison;

namespace Ringfence.Cpu.Tests.X87;

/// <summary>Every x87 encoding is bound, and every register form to what the host does with it.</summary>
[Trait("Category", LongRun.Category)]
public sealed unsafe class X87BindingTests
{
    private const uint Mode = CodeMode.Bits64 | CodeMode.Protected | CodeMode.Flat;

    [Fact]
    public void EveryEncodingIsBound()
    {
        for (int escape = 0xD8; escape <= 0xDF; escape++)
        {
            for (int modrm = 0; modrm < 256; modrm++)
            {
                Instruction instruction = X87Codes.Decode([(byte)escape, (byte)modrm, 0, 0, 0, 0, 0]);
                Op op = default;
                bool obsolete = X87Codes.IsOfOldCoprocessor(instruction.Code);
                Assert.True(instruction.IsInvalid || obsolete || (X87Binder.Bind(instruction, Mode, &op) && op.Handler != null),
                    $"{escape:X2} {modrm:X2} {instruction.Code}");
            }
        }
    }

    [Fact]
    public void RegisterFormsDoWhatTheHostDoes()
    {
        CpuState* s = (CpuState*)NativeMemory.AllocZeroed((nuint)sizeof(CpuState));
        Op* ops = (Op*)NativeMemory.AllocZeroed(2, (nuint)sizeof(Op));
        try
        {
            for (int escape = 0xD8; escape <= 0xDF; escape++)
            {
                for (int modrm = 0xC0; modrm < 256; modrm++)
                {
                    byte[] bytes = [(byte)escape, (byte)modrm];
                    Instruction instruction = X87Codes.Decode(bytes);
                    ops[0] = default;
                    ops[1].Handler = &Stop;
                    if (!X87Codes.IsCompared(in instruction))
                    {
                        continue;
                    }
                    Assert.True(X87Binder.Bind(instruction, Mode, ops), instruction.Code.ToString());
                    bool transcendental = instruction.Mnemonic is Mnemonic.Fsin or Mnemonic.Fcos or Mnemonic.Fsincos or Mnemonic.Fptan
                        or Mnemonic.Fpatan or Mnemonic.F2xm1 or Mnemonic.Fyl2x or Mnemonic.Fyl2xp1;
                    bool flags = instruction.Mnemonic is Mnemonic.Fcomi or Mnemonic.Fcomip or Mnemonic.Fucomi or Mnemonic.Fucomip;
                    bool compares = flags || instruction.Mnemonic is Mnemonic.Fcom or Mnemonic.Fcomp or Mnemonic.Fcompp or Mnemonic.Fucom
                        or Mnemonic.Fucomp or Mnemonic.Fucompp or Mnemonic.Ftst;
                    Run(instruction.ToString(), bytes, OperandKind.None, (X87State* f, byte* m, ref ulong r) =>
                    {
                        s->X87 = *f;
                        Flags.Set(s, r);
                        Assert.True(ops->Handler(s, ops) == null);
                        *f = s->X87;
                        r = Flags.Get(s);
                    }, flags ? X87Status.C1 : 0, 500, compares, transcendental, transcendental ? 0x3FFC : 0x7FFF);
                }
            }
        }
        finally
        {
            NativeMemory.Free(ops);
            NativeMemory.Free(s);
        }
    }

    private static Op* Stop(CpuState* s, Op* o) => null;
}
