package berth

// WeightType says what an import brings: whole weights or a LoRA adapter (api.md 8.2).
type WeightType string

// The weight types.
const (
	WeightsFull WeightType = "full"
	WeightsLoRA WeightType = "lora"
)
