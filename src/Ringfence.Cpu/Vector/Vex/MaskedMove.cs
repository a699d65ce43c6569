using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Vector.Vex;

/// <summary>
/// Instructions that touch memory by elements, those whose mask element is negative: VMASKMOV, VPMASKMOV, VGATHER, VPGATHER. The others cause no
/// fault (SDM 2). So there is no <see cref="SegmentGuard"/> before them: each element is checked for itself.
/// </summary>
internal static unsafe class MaskedMove
{
    /// <summary>The mask is the first source.</summary>
    public static Op* Load<T, TWidth>(CpuState* s, Op* o)
        where T : unmanaged
        where TWidth : struct, IVectorWidth
    {
        if (!LoadElements<T>(s, o, TWidth.Bytes))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The mask is the first source, what is stored the second.</summary>
    public static Op* Store<T, TWidth>(CpuState* s, Op* o)
        where T : unmanaged
        where TWidth : struct, IVectorWidth
    {
        if (!StoreElements<T>(s, o, TWidth.Bytes))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>The index register is the op's index, the mask its source; <see cref="Op.Extra"/> elements.</summary>
    public static Op* Gather<T, TIndex>(CpuState* s, Op* o)
        where T : unmanaged
        where TIndex : unmanaged
    {
        if (!GatherElements<T, TIndex>(s, o))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    private static bool IsSet<T>(byte* mask, int element)
        where T : unmanaged => (sbyte)mask[(element * sizeof(T)) + sizeof(T) - 1] < 0;

    /// <summary>The linear address of an element; false, with the fault recorded, if its segment does not permit the access.</summary>
    public static bool Locate(CpuState* s, Op* o, ulong offset, int size, bool write, out ulong linear)
    {
        offset &= o->AddressMask;
        linear = (offset + *(ulong*)((byte*)s + o->Segment)) & s->LinearMask;
        if ((s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 || o->Segment == Slots.Zero
            || SegmentGuard.Permits(s, (SegmentRegister*)((byte*)s + o->Segment), offset, (ulong)size, write))
        {
            return true;
        }
        SegmentGuard.RecordRefusal(s, o);
        return false;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool LoadElements<T>(CpuState* s, Op* o, int bytes)
        where T : unmanaged
    {
        ulong offset = Plain.Linear(s, o);
        byte* mask = (byte*)s + o->First;
        T* results = stackalloc T[32 / sizeof(T)];
        for (int i = 0; i < bytes / sizeof(T); i++)
        {
            results[i] = default;
            if (IsSet<T>(mask, i)
                && !(Locate(s, o, offset + (ulong)(i * sizeof(T)), sizeof(T), false, out ulong linear) && GuestAccess.Read(s, linear, out results[i])))
            {
                return false;
            }
        }
        byte* d = VectorHandlers.Destination(s, o);
        Buffer.MemoryCopy(results, d, bytes, bytes);
        VexHandlers.Clear(d, bytes);
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool StoreElements<T>(CpuState* s, Op* o, int bytes)
        where T : unmanaged
    {
        ulong offset = Plain.Linear(s, o);
        byte* mask = (byte*)s + o->First;
        ulong* places = stackalloc ulong[32 / sizeof(T)];
        int count = bytes / sizeof(T);
        // No element is stored if one cannot be.
        for (int i = 0; i < count; i++)
        {
            if (IsSet<T>(mask, i)
                && !(Locate(s, o, offset + (ulong)(i * sizeof(T)), sizeof(T), true, out places[i])
                    && (GuestAccess.Modify<T>(s, places[i]) != null || SlowAccess.MayWrite(s, places[i], sizeof(T)))))
            {
                return false;
            }
        }
        for (int i = 0; i < count; i++)
        {
            if (IsSet<T>(mask, i) && !GuestAccess.Write(s, places[i], ((T*)((byte*)s + o->Source))[i]))
            {
                return false;
            }
        }
        return true;
    }

    /// <summary>An element that has been read has its mask cleared: after a fault the instruction goes on where it was.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool GatherElements<T, TIndex>(CpuState* s, Op* o)
        where T : unmanaged
        where TIndex : unmanaged
    {
        ulong start = *(ulong*)((byte*)s + o->Base) + (ulong)o->Displacement;
        byte* index = (byte*)s + o->Index;
        byte* mask = (byte*)s + o->Source;
        T* d = (T*)VectorHandlers.Destination(s, o);
        for (int i = 0; i < o->Extra; i++)
        {
            if (!IsSet<T>(mask, i))
            {
                continue;
            }
            long at = sizeof(TIndex) == 4 ? ((int*)index)[i] : ((long*)index)[i];
            if (!Locate(s, o, start + ((ulong)at << o->Scale), sizeof(T), false, out ulong linear) || !GuestAccess.Read(s, linear, out T value))
            {
                return false;
            }
            d[i] = value;
            ((T*)mask)[i] = default;
        }
        VexHandlers.Clear((byte*)d, o->Extra * sizeof(T));
        VexHandlers.Clear(mask, 0);
        return true;
    }
}
