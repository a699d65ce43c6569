using System.Runtime.InteropServices;

namespace Ringfence.Engine.Kvm.Native;

/// <summary>A descriptor of KVM's: it is asked with ioctl(2), and every refusal becomes a message.</summary>
/// <param name="descriptor">Open, and ours to close.</param>
/// <param name="name">For messages: "/dev/kvm", "virtual machine", "vCPU 0".</param>
internal abstract unsafe class KvmDescriptor(int descriptor, string name) : IDisposable
{
    private int _descriptor = descriptor;

    ~KvmDescriptor() => Close();

    protected int Number => Volatile.Read(ref _descriptor);

    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    protected virtual void Dispose(bool disposing) => Close();

    /// <summary>Asks, and returns the answer.</summary>
    /// <param name="what">For the message: "create a vCPU".</param>
    /// <exception cref="KvmException">The kernel refuses.</exception>
    protected int Ask(KvmRequest request, nuint argument, string what)
    {
        int answer;
        while ((answer = KvmCalls.Control(Number, request, argument)) < 0)
        {
            int error = KvmCalls.LastError();
            if (error != KvmCalls.Interrupted)
            {
                throw Refused(what, error);
            }
        }
        return answer;
    }

    protected void Write<T>(KvmRequest request, in T value, string what)
        where T : unmanaged
    {
        fixed (T* argument = &value)
        {
            Ask(request, (nuint)argument, what);
        }
    }

    protected T Read<T>(KvmRequest request, string what)
        where T : unmanaged
    {
        T value = default;
        Ask(request, (nuint)(&value), what);
        return value;
    }

    protected KvmException Refused(string what, int error) => new($"kvm: {name}: asked to {what}: {Marshal.GetPInvokeErrorMessage(error)} (errno {error})");

    private void Close()
    {
        int descriptor = Interlocked.Exchange(ref _descriptor, -1);
        if (descriptor >= 0)
        {
            _ = KvmCalls.Close(descriptor);
        }
    }
}
