using Iced.Intel;

namespace Ringfence.Cpu.Tests.Integer;

/// <summary>Makes random instructions of every general-purpose encoding of 64-bit code.</summary>
internal sealed class InstructionSource(Random random)
{
    private static readonly HashSet<Mnemonic> Wanted =
    [
        Mnemonic.Mov, Mnemonic.Movzx, Mnemonic.Movsx, Mnemonic.Movsxd, Mnemonic.Lea, Mnemonic.Xchg, Mnemonic.Xadd, Mnemonic.Cmpxchg,
        Mnemonic.Cmpxchg8b, Mnemonic.Add, Mnemonic.Or, Mnemonic.Adc, Mnemonic.Sbb, Mnemonic.And,
        Mnemonic.Sub, Mnemonic.Xor, Mnemonic.Cmp, Mnemonic.Test, Mnemonic.Inc, Mnemonic.Dec, Mnemonic.Neg, Mnemonic.Not, Mnemonic.Mul,
        Mnemonic.Imul, Mnemonic.Div, Mnemonic.Idiv, Mnemonic.Rol, Mnemonic.Ror, Mnemonic.Rcl, Mnemonic.Rcr, Mnemonic.Shl, Mnemonic.Shr,
        Mnemonic.Sal, Mnemonic.Sar, Mnemonic.Shld, Mnemonic.Shrd, Mnemonic.Bt, Mnemonic.Bts, Mnemonic.Btr, Mnemonic.Btc, Mnemonic.Bsf,
        Mnemonic.Bsr, Mnemonic.Bswap, Mnemonic.Cbw, Mnemonic.Cwde, Mnemonic.Cdqe, Mnemonic.Cwd, Mnemonic.Cdq, Mnemonic.Cqo, Mnemonic.Push,
        Mnemonic.Pop, Mnemonic.Pushf, Mnemonic.Pushfq, Mnemonic.Popf, Mnemonic.Popfq, Mnemonic.Lahf, Mnemonic.Sahf, Mnemonic.Clc,
        Mnemonic.Stc, Mnemonic.Cmc, Mnemonic.Cld, Mnemonic.Std, Mnemonic.Xlatb, Mnemonic.Leave, Mnemonic.Enter, Mnemonic.Popcnt,
        Mnemonic.Nop, Mnemonic.Crc32, Mnemonic.Andn, Mnemonic.Bextr, Mnemonic.Blsi, Mnemonic.Blsmsk, Mnemonic.Blsr, Mnemonic.Tzcnt, Mnemonic.Lzcnt, Mnemonic.Bzhi,
        Mnemonic.Mulx, Mnemonic.Pdep, Mnemonic.Pext, Mnemonic.Rorx, Mnemonic.Sarx, Mnemonic.Shlx, Mnemonic.Shrx, Mnemonic.Adcx, Mnemonic.Adox,
        Mnemonic.Movbe, Mnemonic.Cmpxchg16b,
        Mnemonic.Movsb, Mnemonic.Movsw, Mnemonic.Movsd, Mnemonic.Movsq, Mnemonic.Stosb, Mnemonic.Stosw, Mnemonic.Stosd, Mnemonic.Stosq,
        Mnemonic.Lodsb, Mnemonic.Lodsw, Mnemonic.Lodsd, Mnemonic.Lodsq, Mnemonic.Scasb, Mnemonic.Scasw, Mnemonic.Scasd, Mnemonic.Scasq,
        Mnemonic.Cmpsb, Mnemonic.Cmpsw, Mnemonic.Cmpsd, Mnemonic.Cmpsq,
    ];

    /// <summary>Every encoding looked at.</summary>
    public static IReadOnlyList<Code> Codes { get; } = [.. Enum.GetValues<Code>().Where(IsWanted)];

    /// <summary>When set, only these registers are written, and memory is addressed through <see cref="Pointers"/> alone.</summary>
    public bool Tame { get; init; }

    /// <summary>In tame code: RBX and R13 point into the data, R14 is a small index; none of them is written.</summary>
    public static IReadOnlyList<Register> Pointers { get; } = [Register.RBX, Register.R13];

    private static bool IsWanted(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        if (!info.Mode64 || code == Code.Setssbsy || info.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX) || !info.IsInstruction
            || code.ToString().Contains("_KNC_", StringComparison.Ordinal))
        {
            return false;
        }
        Mnemonic mnemonic = code.Mnemonic();
        if (!Wanted.Contains(mnemonic) && !code.ToString().StartsWith("Set", StringComparison.Ordinal)
            && !code.ToString().StartsWith("Cmov", StringComparison.Ordinal))
        {
            return false;
        }
        for (int i = 0; i < info.OpCount; i++)
        {
            string kind = info.GetOpKind(i).ToString();
            if (kind.Contains("xmm", StringComparison.Ordinal) || kind.StartsWith("cr", StringComparison.Ordinal)
                || kind.StartsWith("dr", StringComparison.Ordinal) || kind.StartsWith("seg_reg", StringComparison.Ordinal)
                || kind is "seg" or "es" or "cs" or "ss" or "ds" or "fs" or "gs" || kind.StartsWith("tr_", StringComparison.Ordinal)
                || kind.StartsWith("seg_r", StringComparison.Ordinal) && !kind.StartsWith("seg_rSI", StringComparison.Ordinal)
                    && !kind.StartsWith("seg_rBX", StringComparison.Ordinal)
                || kind.StartsWith("sibmem", StringComparison.Ordinal))
            {
                return false;
            }
        }
        return code is not (Code.Movsd_xmm_xmmm64 or Code.Cmpsd_xmm_xmmm64_imm8 or Code.Movsd_xmmm64_xmm);
    }

    public Instruction Next(Code code)
    {
        OpCodeInfo info = code.ToOpCode();
        Instruction i = default;
        i.Code = code;
        for (int n = 0; n < info.OpCount; n++)
        {
            SetOperand(ref i, n, info.GetOpKind(n), code);
        }
        if (info.CanUseLockPrefix && i.Op0Kind == OpKind.Memory && random.Next(2) == 0)
        {
            i.HasLockPrefix = true;
        }
        if (i.IsStringInstruction)
        {
            switch (random.Next(3))
            {
                case 0: i.HasRepPrefix = true; break;
                case 1 when i.Mnemonic is >= Mnemonic.Cmpsb and <= Mnemonic.Cmpsw or Mnemonic.Cmpsd or Mnemonic.Cmpsq
                    or Mnemonic.Scasb or Mnemonic.Scasw or Mnemonic.Scasd or Mnemonic.Scasq: i.HasRepnePrefix = true; break;
            }
        }
        return i;
    }

    private void SetOperand(ref Instruction i, int n, OpCodeOperandKind kind, Code code)
    {
        string name = kind.ToString();
        if (name.EndsWith("_or_mem", StringComparison.Ordinal) || name is "mem" or "mem_offs")
        {
            if (name == "mem_offs")
            {
                i.SetOpKind(n, OpKind.Memory);
                i.MemoryDisplSize = random.Next(4) == 0 ? 4 : 8;
                i.MemoryDisplacement64 = Layout.Data + (ulong)random.Next((int)Layout.DataBytes - 16);
                return;
            }
            if (name == "mem" || random.Next(2) == 0)
            {
                SetMemory(ref i, n, code);
                return;
            }
        }
        switch (kind)
        {
            case OpCodeOperandKind.al: i.SetOpRegister(n, Register.AL); return;
            case OpCodeOperandKind.ax: i.SetOpRegister(n, Register.AX); return;
            case OpCodeOperandKind.eax: i.SetOpRegister(n, Register.EAX); return;
            case OpCodeOperandKind.rax: i.SetOpRegister(n, Register.RAX); return;
            case OpCodeOperandKind.cl: i.SetOpRegister(n, Register.CL); return;
            case OpCodeOperandKind.dx: i.SetOpRegister(n, Register.DX); return;
            case OpCodeOperandKind.imm8_const_1: Immediate(ref i, n, OpKind.Immediate8, 1); return;
            case OpCodeOperandKind.imm8:
                Immediate(ref i, n, n == 1 && code.Mnemonic() == Mnemonic.Enter ? OpKind.Immediate8_2nd : OpKind.Immediate8, (byte)Number());
                return;
            case OpCodeOperandKind.imm8sex16: Immediate(ref i, n, OpKind.Immediate8to16, (ulong)(sbyte)Number()); return;
            case OpCodeOperandKind.imm8sex32: Immediate(ref i, n, OpKind.Immediate8to32, (ulong)(sbyte)Number()); return;
            case OpCodeOperandKind.imm8sex64: Immediate(ref i, n, OpKind.Immediate8to64, (ulong)(sbyte)Number()); return;
            case OpCodeOperandKind.imm16: Immediate(ref i, n, OpKind.Immediate16, code.Mnemonic() == Mnemonic.Enter ? (ulong)random.Next(512) : (ushort)Number()); return;
            case OpCodeOperandKind.imm32: Immediate(ref i, n, OpKind.Immediate32, (uint)Number()); return;
            case OpCodeOperandKind.imm32sex64: Immediate(ref i, n, OpKind.Immediate32to64, (ulong)(int)Number()); return;
            case OpCodeOperandKind.imm64: Immediate(ref i, n, OpKind.Immediate64, Number()); return;
            case OpCodeOperandKind.seg_rSI: i.SetOpKind(n, random.Next(4) == 0 ? OpKind.MemorySegESI : OpKind.MemorySegRSI); return;
            case OpCodeOperandKind.es_rDI:
                i.SetOpKind(n, n == 1 && i.Op0Kind is OpKind.MemorySegESI or OpKind.MemorySegRSI
                    ? i.Op0Kind == OpKind.MemorySegESI ? OpKind.MemoryESEDI : OpKind.MemoryESRDI
                    : random.Next(4) == 0 ? OpKind.MemoryESEDI : OpKind.MemoryESRDI);
                return;
            case OpCodeOperandKind.seg_rBX_al:
                i.SetOpKind(n, OpKind.Memory);
                i.MemoryBase = random.Next(4) == 0 ? Register.EBX : Register.RBX;
                i.MemoryIndex = Register.AL;
                i.MemoryIndexScale = 1;
                return;
        }
        Register first = name.StartsWith("r8_", StringComparison.Ordinal) ? Register.AL
            : name.StartsWith("r16_", StringComparison.Ordinal) ? Register.AX
            : name.StartsWith("r32_", StringComparison.Ordinal) ? Register.EAX
            : name.StartsWith("r64_", StringComparison.Ordinal) ? Register.RAX
            : throw new NotSupportedException($"{code}: {kind}");
        i.SetOpRegister(n, Pick(first));
    }

    private static void Immediate(ref Instruction i, int n, OpKind kind, ulong value)
    {
        i.SetOpKind(n, kind);
        switch (kind)
        {
            case OpKind.Immediate8: i.Immediate8 = (byte)value; break;
            case OpKind.Immediate8_2nd: i.Immediate8_2nd = (byte)value; break;
            case OpKind.Immediate8to16: i.Immediate8to16 = (short)value; break;
            case OpKind.Immediate8to32: i.Immediate8to32 = (int)value; break;
            case OpKind.Immediate8to64: i.Immediate8to64 = (long)value; break;
            case OpKind.Immediate16: i.Immediate16 = (ushort)value; break;
            case OpKind.Immediate32: i.Immediate32 = (uint)value; break;
            case OpKind.Immediate32to64: i.Immediate32to64 = (long)value; break;
            default: i.Immediate64 = value; break;
        }
    }

    /// <summary>A register of the class that begins with <paramref name="first"/>; never the stack pointer's.</summary>
    private Register Pick(Register first)
    {
        while (true)
        {
            Register register = first == Register.AL ? Register.AL + random.Next(20) : first + random.Next(16);
            Register full = register.GetFullRegister();
            if (full != Register.RSP && !(Tame && (full == Register.R14 || Pointers.Contains(full))))
            {
                return register;
            }
        }
    }

    private void SetMemory(ref Instruction i, int n, Code code)
    {
        i.SetOpKind(n, OpKind.Memory);
        bool tame = Tame && code.Mnemonic() != Mnemonic.Lea;
        int shape = random.Next(10);
        if (shape == 0)
        {
            i.MemoryBase = random.Next(3) == 0 ? Register.EIP : Register.RIP;
            i.MemoryDisplSize = i.MemoryBase == Register.EIP ? 4 : 8;
            i.MemoryDisplacement64 = Layout.Data + (ulong)random.Next((int)Layout.DataBytes - 16);
            return;
        }
        if (shape == 1)
        {
            i.MemoryDisplSize = random.Next(3) == 0 ? 4 : 8;
            i.MemoryDisplacement64 = Layout.Data + (ulong)random.Next((int)Layout.DataBytes - 16);
            return;
        }
        bool narrow = random.Next(5) == 0;
        Register first = narrow ? Register.EAX : Register.RAX;
        i.MemoryBase = tame ? Narrow(Pointers[random.Next(Pointers.Count)], narrow) : first + random.Next(16);
        bool indexed = shape >= 5;
        if (indexed)
        {
            do
            {
                i.MemoryIndex = tame ? Narrow(Register.R14, narrow) : first + random.Next(16);
            }
            while (i.MemoryIndex.GetFullRegister() == Register.RSP || i.MemoryIndex == i.MemoryBase);
            i.MemoryIndexScale = 1 << random.Next(4);
            if (!tame && i.MemoryBase.GetFullRegister() != Register.RSP && random.Next(6) == 0)
            {
                i.MemoryBase = Register.None;
            }
        }
        bool near = i.MemoryBase.GetFullRegister() == Register.RSP || tame;
        int displacement = near ? random.Next(-64, 64) : random.Next(3) switch
        {
            0 => 0,
            1 => random.Next(-128, 128),
            _ => (int)random.NextInt64(int.MinValue, int.MaxValue + 1L),
        };
        i.MemoryDisplSize = displacement == 0 && i.MemoryBase != Register.None ? 0
            : displacement is >= -128 and < 128 && i.MemoryBase != Register.None ? random.Next(3) == 0 ? narrow ? 4 : 8 : 1 : narrow ? 4 : 8;
        i.MemoryDisplacement64 = narrow ? (uint)displacement : (ulong)displacement;
    }

    private static Register Narrow(Register register, bool narrow) => narrow ? Register.EAX + (register - Register.RAX) : register;

    /// <summary>A 64-bit number of one of the classes that arithmetic tells apart.</summary>
    public ulong Number() => random.Next(10) switch
    {
        0 => 0,
        1 => ulong.MaxValue,
        2 => (ulong)random.Next(-3, 4),
        3 => 1UL << random.Next(64),
        4 => (1UL << random.Next(64)) - 1,
        5 => (ulong)-(1L << random.Next(64)),
        6 => (ulong)random.Next(0, 100),
        7 => ((random.Next(2) == 0 ? 0x8000_0000_8000_8080UL : 0x7FFF_FFFF_7FFF_7F7F) + (ulong)random.Next(-1, 2)) ^ ((ulong)random.Next(2) << 63),
        8 => (uint)random.NextInt64(),
        _ => (ulong)random.NextInt64(long.MinValue, long.MaxValue),
    };

    /// <summary>
    /// Chooses registers so that the memory operand of <paramref name="i"/> lies in the data (or the stack, if RSP is its base), and what
    /// an instruction takes implicitly makes sense.
    /// </summary>
    public unsafe void Prepare(in Instruction i, Registers* r)
    {
        for (int n = 0; n < 16; n++)
        {
            r->Gpr[n] = Number();
        }
        r->Flags = RandomFlags();
        r->Gpr[4] = Layout.StackTop - (ulong)random.Next(64) * 8 - (ulong)(random.Next(4) == 0 ? random.Next(8) : 0);
        if (i.Mnemonic is Mnemonic.Leave or Mnemonic.Enter)
        {
            r->Gpr[5] = Layout.StackTop - 0x400 + (ulong)random.Next(0x200);
            return;
        }
        if (i.IsStringInstruction)
        {
            r->Gpr[6] = DataAddress();
            r->Gpr[7] = random.Next(3) == 0 ? r->Gpr[6] + (ulong)random.Next(-20, 20) : DataAddress();
            r->Gpr[1] = (ulong)random.Next(random.Next(4) == 0 ? 0x500 : 20);
            if (i.Op0Kind is OpKind.MemoryESEDI or OpKind.MemorySegESI || i.Op1Kind is OpKind.MemoryESEDI or OpKind.MemorySegESI)
            {
                r->Gpr[6] |= (ulong)random.Next(2) << 40;
                r->Gpr[7] |= (ulong)random.Next(2) << 41;
                r->Gpr[1] |= (ulong)random.Next(2) << 42;
            }
            return;
        }
        if (!HasMemory(i))
        {
            return;
        }
        Register baseRegister = i.MemoryBase;
        Register index = i.MemoryIndex;
        bool bits = i.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc && i.Op1Kind == OpKind.Register;
        if (bits)
        {
            SetGpr(r, i.Op1Register.GetFullRegister(), BitNumber(i.Op1Register));
        }
        if (baseRegister.IsIP() || i.Mnemonic == Mnemonic.Lea)
        {
            return;
        }
        if (i.Mnemonic == Mnemonic.Xlatb)
        {
            r->Gpr[3] = DataAddress() - 128;
            return;
        }
        bool narrow = baseRegister.IsGPR32() || index.IsGPR32();
        ulong target = DataAddress();
        if (i.Mnemonic == Mnemonic.Cmpxchg16b && random.Next(4) != 0)
        {
            target &= ~15UL;
        }
        if (bits)
        {
            target = Layout.Data + (Layout.DataBytes / 2) + (ulong)random.Next(-0x800, 0x800);
        }
        ulong displacement = i.MemoryDisplacement64;
        if (baseRegister.GetFullRegister() == Register.RSP)
        {
            if (index != Register.None)
            {
                SetGpr(r, index.GetFullRegister(), (ulong)random.Next(-16, 16));
            }
            return;
        }
        ulong scaled = index == Register.None ? 0 : r->Gpr[index.GetFullRegister() - Register.RAX] * (ulong)i.MemoryIndexScale;
        if (baseRegister != Register.None)
        {
            ulong value = target - scaled - displacement;
            SetGpr(r, baseRegister.GetFullRegister(), narrow ? (uint)value | ((ulong)random.Next() << 32) : value);
        }
        else if (index != Register.None)
        {
            ulong value = (target - displacement) / (ulong)i.MemoryIndexScale;
            if (narrow)
            {
                value = (uint)(target - displacement) / (uint)i.MemoryIndexScale;
                value |= (ulong)random.Next() << 32;
            }
            else
            {
                value = (ulong)((long)(target - displacement) / i.MemoryIndexScale);
            }
            SetGpr(r, index.GetFullRegister(), value);
        }
    }

    /// <summary>A bit within the data, or far from all that the two processors hold at the same addresses, such as their code.</summary>
    private ulong BitNumber(Register register)
    {
        ulong value = random.Next(8) == 0 ? Number() : (ulong)random.Next(-0x3000, 0x3000);
        long bytes = (register.GetSize() switch { 2 => (short)value, 4 => (int)value, _ => (long)value }) >> 3;
        bool reachesTheCode = bytes is < -0x800 and > -2 * (long)Layout.Span or > 0x800 and < (long)Layout.Span;
        value = reachesTheCode ? value & 0x3FFF : value;
        return register.IsGPR32() ? (uint)value | ((ulong)random.Next() << 32) : value;
    }

    /// <summary>Registers for tame code.</summary>
    public unsafe void Prepare(Registers* r)
    {
        for (int n = 0; n < 16; n++)
        {
            r->Gpr[n] = Number();
        }
        r->Flags = RandomFlags() & ~0x400UL;
        r->Gpr[4] = Layout.StackTop - ((ulong)random.Next(64) * 8);
        r->Gpr[3] = Layout.Data + 0x400 + (ulong)random.Next(0x2000);
        r->Gpr[13] = Layout.Data + 0x400 + (ulong)random.Next(0x2000);
        r->Gpr[14] = (ulong)random.Next(64);
    }

    public static bool HasMemory(in Instruction i)
    {
        for (int n = 0; n < i.OpCount; n++)
        {
            if (i.GetOpKind(n) == OpKind.Memory)
            {
                return true;
            }
        }
        return false;
    }

    private static unsafe void SetGpr(Registers* r, Register full, ulong value) => r->Gpr[full - Register.RAX] = value;

    public ulong RandomFlags() => 0x202 | ((ulong)random.Next(0x1000) & 0x8D5) | (random.Next(4) == 0 ? 0x400UL : 0);

    /// <summary>An address in the data: anywhere, across two pages, or at the edge.</summary>
    private ulong DataAddress() => random.Next(8) switch
    {
        0 => Layout.Data + ((ulong)random.Next(1, 3) * 0x1000) - (ulong)random.Next(1, 16),
        1 when random.Next(4) == 0 => Layout.Data + Layout.DataBytes - (ulong)random.Next(1, 16),
        1 when random.Next(4) == 0 => Layout.Data - (ulong)random.Next(1, 8),
        _ => Layout.Data + (ulong)random.Next((int)Layout.DataBytes - 16),
    };
}
