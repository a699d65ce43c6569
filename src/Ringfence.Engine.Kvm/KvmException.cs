namespace Ringfence.Engine.Kvm;

/// <summary>KVM cannot be used, or has refused something. The message is one line: what was asked, what the kernel said, and what helps.</summary>
public sealed class KvmException : Exception
{
    public KvmException()
    {
    }

    public KvmException(string message)
        : base(message)
    {
    }

    public KvmException(string message, Exception innerException)
        : base(message, innerException)
    {
    }
}
